# Bash completion for main.py, made by: python -m dlib.configure.reference
# Use: source cmds/completion.bash, then python main.py --<Tab> or torchrun … main.py --<Tab>
_colocam() {
    [[ "${COMP_WORDS[*]}" == *main.py* ]] || return
    local current="${COMP_WORDS[COMP_CWORD]}" previous="${COMP_WORDS[COMP_CWORD - 1]}" words
    case "$previous" in
        --task) words="STD_CL CoLo-CAM" ;;
        --dry_run) words="True False" ;;
        --deterministic) words="True False" ;;
        --skip_bad_frames) words="True False" ;;
        --sample_n_from_seq_style) words="before after before-after random" ;;
        --sample_n_from_seq_dist) words="uniform gaussian interval" ;;
        --drop_small_tr_batch) words="True False" ;;
        --fill_small_tr_batch) words="True False" ;;
        --arch) words="STDClassifier UnetCoLoCAM" ;;
        --encoder_name) words="resnet50 vgg16 inceptionv3 resnet18 mobilenet_v2" ;;
        --encoder_weights) words="imagenet None" ;;
        --in_channels) words="3" ;;
        --strict) words="True False" ;;
        --freeze_cl) words="True False" ;;
        --freeze_encoder) words="True False" ;;
        --freeze_decoder_bn) words="True False" ;;
        --seg_mode) words="binary" ;;
        --multi_label_flag) words="True False" ;;
        --method) words="CAM GradCAM GradCAMpp SmoothGradCAMpp XGradCAM LayerCAM ScoreCAM SSCAM ISCAM WILDCAT GAP MaxPOL LogSumExp" ;;
        --spatial_pooling) words="WGAP GAP MaxPool LogSumExpPool WildCatCLHead" ;;
        --support_background) words="True False" ;;
        --opt__name_optimizer) words="sgd adam" ;;
        --opt__nesterov) words="True False" ;;
        --opt__amsgrad) words="True False" ;;
        --opt__lr_scheduler) words="True False" ;;
        --opt__name_lr_scheduler) words="mystep step cosine" ;;
        --std_label_smooth) words="True False" ;;
        --colocam_pretrained_cl_ch_pt) words="best_localization best_classification" ;;
        --colocam_pretrained_seeder_ch_pt) words="best_localization best_classification" ;;
        --sl_clc) words="True False" ;;
        --sl_clc_seed_tech) words="seed_uniform seed_weighted" ;;
        --sl_clc_use_roi) words="True False" ;;
        --sl_clc_roi_method) words="roi_all roi_high_density largest" ;;
        --sl_clc_roi_mask) words="box region" ;;
        --sl_clc_balance) words="True False" ;;
        --soft_cam_clc) words="True False" ;;
        --seed_cam_method) words="CAM GradCAM GradCAMpp SmoothGradCAMpp XGradCAM LayerCAM ScoreCAM SSCAM ISCAM WILDCAT GAP MaxPOL LogSumExp" ;;
        --crf_clc) words="True False" ;;
        --crf_backend) words="auto cpp torch" ;;
        --rgb_jcrf_clc) words="True False" ;;
        --rgb_jcrf_clc_lambda_style) words="constant adaptive" ;;
        --rgb_jcrf_clc_input_data) words="image deep_features cam_logits" ;;
        --rgb_jcrf_clc_seed_agreement) words="True False" ;;
        --max_sizepos_clc) words="True False" ;;
        --min_entropy_clc) words="True False" ;;
        --size_bg_g_fg_clc) words="True False" ;;
        --sizefg_tmp_clc) words="True False" ;;
        --sizefg_tmp_clc_knn_mode) words="instant before after before-after" ;;
        --empty_out_bb_clc) words="True False" ;;
        --amp) words="True False" ;;
        --amp_eval) words="True False" ;;
        --amp_dtype) words="auto float16 bfloat16" ;;
        --channels_last) words="auto true false" ;;
        --compile) words="True False" ;;
        --box_v2_metric) words="True False" ;;
        --multi_contour_eval) words="True False" ;;
        --multi_iou_eval) words="True False" ;;
        --eval_checkpoint_type) words="best_localization best_classification" ;;
        --eval_only) words="True False" ;;
        --split) words="train val test test-video-demo" ;;
        --verbose) words="True False" ;;
        --progress) words="auto true false" ;;
        --plot_tr_cam_progress) words="True False" ;;
        --report) words="True False" ;;
        --tensorboard) words="True False" ;;
        --device) words="auto cuda cpu" ;;
        --dist_backend) words="gloo nccl mpi" ;;
        --sync_bn) words="True False" ;;
        --*) return ;;
        *) words="--help --task --config --MYSEED --exp_id --debug_subfolder --exps_root --pretrained_root --cams_root --dry_run --deterministic --dataset --data_root --metadata_root --num_classes --crop_size --resize_size --num_val_sample_per_class --num_workers --skip_bad_frames --aug_color --aug_scale_min --batch_size --sample_fr_limit --sample_n_from_seq --sample_n_from_seq_style --sample_n_from_seq_dist --sample_n_from_seq_std --min_tr_batch_sz --drop_small_tr_batch --fill_small_tr_batch --arch --encoder_name --encoder_weights --in_channels --path_pre_trained --strict --scale_in --freeze_cl --freeze_encoder --freeze_decoder_bn --seg_mode --multi_label_flag --method --cam_chunk_size --spatial_pooling --support_background --wc_modalities --wc_kmax --wc_kmin --wc_alpha --wc_dropout --lse_r --opt__name_optimizer --opt__lr --opt__lr_classifier_ratio --opt__momentum --opt__dampening --opt__nesterov --opt__weight_decay --opt__beta1 --opt__beta2 --opt__eps_adam --opt__amsgrad --opt__lr_scheduler --opt__name_lr_scheduler --opt__gamma --opt__step_size --opt__min_lr --opt__t_max --opt__last_epoch --std_label_smooth --std_label_smooth_e --colocam_pretrained_cl_ch_pt --colocam_pretrained_seeder_ch_pt --sl_clc --sl_clc_lambda --sl_clc_start_ep --sl_clc_end_ep --sl_clc_min --sl_clc_max --sl_clc_min_p --sl_clc_max_p --sl_clc_ksz --sl_clc_seed_tech --sl_clc_use_roi --sl_clc_roi_method --sl_clc_roi_min_size --sl_clc_roi_mask --sl_clc_fg_erode_k --sl_clc_fg_erode_iter --sl_clc_balance --sl_clc_knn_t --sl_clc_min_t --sl_clc_seed_epoch_switch_uniform --sl_clc_epoch_switch_to_sl --sl_clc_block --soft_cam_clc --soft_cam_clc_lambda --soft_cam_clc_start_ep --soft_cam_clc_end_ep --seg_ignore_idx --seed_refine_sigma_xy --seed_refine_sigma_rgb --seed_cam_method --crf_clc --crf_clc_lambda --crf_clc_start_ep --crf_clc_end_ep --crf_clc_sigma_rgb --crf_clc_sigma_xy --crf_clc_scale --crf_backend --rgb_jcrf_clc --rgb_jcrf_clc_lambda --rgb_jcrf_clc_start_ep --rgb_jcrf_clc_end_ep --rgb_jcrf_clc_lambda_style --rgb_jcrf_clc_sigma_rgb --rgb_jcrf_clc_input_data --rgb_jcrf_clc_input_re_dim --rgb_jcrf_clc_scale --rgb_jcrf_clc_warmup_ep --rgb_jcrf_clc_seed_agreement --max_sizepos_clc --max_sizepos_clc_lambda --max_sizepos_clc_start_ep --max_sizepos_clc_end_ep --min_entropy_clc --min_entropy_clc_lambda --min_entropy_clc_start_ep --min_entropy_clc_end_ep --size_bg_g_fg_clc --size_bg_g_fg_clc_lambda --size_bg_g_fg_clc_start_ep --size_bg_g_fg_clc_end_ep --sizefg_tmp_clc --sizefg_tmp_clc_lambda --sizefg_tmp_clc_start_ep --sizefg_tmp_clc_end_ep --sizefg_tmp_clc_eps --sizefg_tmp_clc_knn --sizefg_tmp_clc_knn_mode --empty_out_bb_clc --empty_out_bb_clc_lambda --empty_out_bb_clc_start_ep --empty_out_bb_clc_end_ep --elb_init_t --elb_max_t --elb_mulcoef --max_epochs --amp --amp_eval --amp_dtype --channels_last --compile --grad_clip --ema_decay --best_start_ep --early_stop_patience --box_v2_metric --cam_curve_interval --val_cam_curve_interval --map_temperature --map_refine_sigma_xy --map_refine_sigma_rgb --multi_contour_eval --multi_iou_eval --eval_checkpoint_type --eval_batch_size --eval_only --fd_exp --split --checkpoint_save --keep_last_n_checkpoints --verbose --progress --log_every --plot_tr_cam_progress --plot_tr_cam_progress_n --vizu_n --report --tensorboard --device --cudaid --dist_backend --init_method --local_rank --local_world_size --world_size --sync_bn" ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
}
complete -o bashdefault -o default -F _colocam python python3 torchrun
