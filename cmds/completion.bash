# Bash completion for colocam and main.py, made by: python -m dlib.configure.reference
# Use: source cmds/completion.bash, then: colocam <Tab>, python main.py --<Tab>,
# torchrun … main.py --<Tab>
_colocam() {
    local current="${COMP_WORDS[COMP_CWORD]}" previous="${COMP_WORDS[COMP_CWORD - 1]}" words
    local name=train
    if [[ "${COMP_WORDS[0]##*/}" == colocam ]]; then
        name="${COMP_WORDS[1]}"
        if ((COMP_CWORD == 1)); then name=colocam previous=; fi
    elif [[ "${COMP_WORDS[*]}" != *main.py* ]]; then
        return
    fi
    case "$name $previous $current" in
        "colocam "*) words="--help run train status compare figure score-maps localize export measure promote study gain selfcheck import inspect download build-v1 build-v2 synthetic completion" ;;
        "run --encoder_name "*) words="resnet50 vgg16 inceptionv3 resnet18 mobilenet_v2 vit_b_16 swin_t" ;;
        "run --out "* | "run --dataset "* | "run --boxes "* | "run --seed "* | "run --clips "* | "run --overlays "*) return ;;
        "run "*" -"*) words="--help --out --dataset --boxes --encoder_name --seed --clips --overlays" ;;
        "train --task "*) words="STD_CL CoLo-CAM TCAM F_CL" ;;
        "train --dry_run "*) words="True False" ;;
        "train --deterministic "*) words="True False" ;;
        "train --skip_bad_frames "*) words="True False" ;;
        "train --sample_n_from_seq_style "*) words="before after before-after random" ;;
        "train --sample_n_from_seq_dist "*) words="uniform gaussian interval" ;;
        "train --drop_small_tr_batch "*) words="True False" ;;
        "train --fill_small_tr_batch "*) words="True False" ;;
        "train --arch "*) words="STDClassifier UnetCoLoCAM UnetTCAM UnetFCAM" ;;
        "train --encoder_name "*) words="resnet50 vgg16 inceptionv3 resnet18 mobilenet_v2 vit_b_16 swin_t" ;;
        "train --encoder_weights "*) words="imagenet None" ;;
        "train --in_channels "*) words="3" ;;
        "train --strict "*) words="True False" ;;
        "train --freeze_cl "*) words="True False" ;;
        "train --freeze_encoder "*) words="True False" ;;
        "train --freeze_decoder_bn "*) words="True False" ;;
        "train --seg_mode "*) words="binary" ;;
        "train --multi_label_flag "*) words="True False" ;;
        "train --method "*) words="CAM GradCam GradCAMpp SmoothGradCAMpp XGradCAM LayerCAM ScoreCAM SSCAM ISCAM WILDCAT GAP MaxPOL LogSumExp" ;;
        "train --spatial_pooling "*) words="WGAP GAP MaxPool LogSumExpPool WildCatCLHead" ;;
        "train --support_background "*) words="True False" ;;
        "train --opt__name_optimizer "*) words="sgd adam" ;;
        "train --opt__nesterov "*) words="True False" ;;
        "train --opt__amsgrad "*) words="True False" ;;
        "train --opt__lr_scheduler "*) words="True False" ;;
        "train --opt__name_lr_scheduler "*) words="mystep step cosine" ;;
        "train --std_label_smooth "*) words="True False" ;;
        "train --colocam_pretrained_cl_ch_pt "*) words="best_localization best_classification" ;;
        "train --colocam_pretrained_seeder_ch_pt "*) words="best_localization best_classification" ;;
        "train --sl_clc "*) words="True False" ;;
        "train --sl_clc_seed_tech "*) words="seed_uniform seed_weighted" ;;
        "train --sl_clc_use_roi "*) words="True False" ;;
        "train --sl_clc_roi_method "*) words="roi_all roi_high_density largest" ;;
        "train --sl_clc_roi_mask "*) words="box region" ;;
        "train --sl_clc_balance "*) words="True False" ;;
        "train --soft_cam_clc "*) words="True False" ;;
        "train --crf_clc "*) words="True False" ;;
        "train --rgb_jcrf_clc "*) words="True False" ;;
        "train --rgb_jcrf_clc_lambda_style "*) words="constant adaptive" ;;
        "train --rgb_jcrf_clc_input_data "*) words="image deep_features cam_logits" ;;
        "train --rgb_jcrf_clc_seed_agreement "*) words="True False" ;;
        "train --max_sizepos_clc "*) words="True False" ;;
        "train --min_entropy_clc "*) words="True False" ;;
        "train --size_bg_g_fg_clc "*) words="True False" ;;
        "train --sizefg_tmp_clc "*) words="True False" ;;
        "train --sizefg_tmp_clc_knn_mode "*) words="instant before after before-after" ;;
        "train --empty_out_bb_clc "*) words="True False" ;;
        "train --sl_tc "*) words="True False" ;;
        "train --sl_tc_knn_mode "*) words="instant before after before-after" ;;
        "train --sl_tc_seed_tech "*) words="seed_uniform seed_weighted" ;;
        "train --sl_tc_use_roi "*) words="True False" ;;
        "train --sl_tc_roi_method "*) words="roi_all roi_high_density largest" ;;
        "train --sl_tc_roi_mask "*) words="box region" ;;
        "train --tcam_pretrained_cl_ch_pt "*) words="best_localization best_classification" ;;
        "train --tcam_pretrained_seeder_ch_pt "*) words="best_localization best_classification" ;;
        "train --soft_cam_tc "*) words="True False" ;;
        "train --crf_tc "*) words="True False" ;;
        "train --rgb_jcrf_tc "*) words="True False" ;;
        "train --max_sizepos_tc "*) words="True False" ;;
        "train --size_bg_g_fg_tc "*) words="True False" ;;
        "train --sizefg_tmp_tc "*) words="True False" ;;
        "train --sizefg_tmp_tc_knn_mode "*) words="instant before after before-after" ;;
        "train --empty_out_bb_tc "*) words="True False" ;;
        "train --sl_fc "*) words="True False" ;;
        "train --soft_cam_fc "*) words="True False" ;;
        "train --crf_fc "*) words="True False" ;;
        "train --max_sizepos_fc "*) words="True False" ;;
        "train --entropy_fc "*) words="True False" ;;
        "train --im_rec "*) words="True False" ;;
        "train --im_rec_elb "*) words="True False" ;;
        "train --seed_cam_method "*) words="CAM GradCam GradCAMpp SmoothGradCAMpp XGradCAM LayerCAM ScoreCAM SSCAM ISCAM WILDCAT GAP MaxPOL LogSumExp" ;;
        "train --crf_backend "*) words="auto cpp torch" ;;
        "train --amp "*) words="True False" ;;
        "train --amp_eval "*) words="True False" ;;
        "train --amp_dtype "*) words="auto float16 bfloat16" ;;
        "train --channels_last "*) words="auto true false" ;;
        "train --compile "*) words="True False" ;;
        "train --cuda_graphs "*) words="True False" ;;
        "train --box_v2_metric "*) words="True False" ;;
        "train --map_view_flip "*) words="True False" ;;
        "train --box_features "*) words="True False" ;;
        "train --val_fast "*) words="True False" ;;
        "train --multi_contour_eval "*) words="True False" ;;
        "train --multi_iou_eval "*) words="True False" ;;
        "train --eval_checkpoint_type "*) words="best_localization best_classification" ;;
        "train --eval_only "*) words="True False" ;;
        "train --split "*) words="train val test test-video-demo" ;;
        "train --verbose "*) words="True False" ;;
        "train --progress "*) words="auto true false" ;;
        "train --plot_tr_cam_progress "*) words="True False" ;;
        "train --report "*) words="True False" ;;
        "train --log_to "*) words="wandb mlflow csv tensorboard" ;;
        "train --tensorboard "*) words="True False" ;;
        "train --device "*) words="auto cuda cpu" ;;
        "train --dist_backend "*) words="gloo nccl mpi" ;;
        "train --sync_bn "*) words="True False" ;;
        "train --config "* | "train --MYSEED "* | "train --exp_id "* | "train --debug_subfolder "* | "train --exps_root "* | "train --pretrained_root "* | "train --cams_root "* | "train --dataset "* | "train --data_root "* | "train --metadata_root "* | "train --num_classes "* | "train --crop_size "* | "train --eval_size "* | "train --resize_size "* | "train --num_val_sample_per_class "* | "train --num_workers "* | "train --aug_color "* | "train --aug_scale_min "* | "train --batch_size "* | "train --sample_fr_limit "* | "train --sample_n_from_seq "* | "train --sample_n_from_seq_std "* | "train --min_tr_batch_sz "* | "train --path_pre_trained "* | "train --scale_in "* | "train --cam_chunk_size "* | "train --wc_modalities "* | "train --wc_kmax "* | "train --wc_kmin "* | "train --wc_alpha "* | "train --wc_dropout "* | "train --lse_r "* | "train --opt__lr "* | "train --opt__lr_classifier_ratio "* | "train --opt__momentum "* | "train --opt__dampening "* | "train --opt__weight_decay "* | "train --opt__beta1 "* | "train --opt__beta2 "* | "train --opt__eps_adam "* | "train --opt__gamma "* | "train --opt__step_size "* | "train --opt__min_lr "* | "train --opt__t_max "* | "train --opt__last_epoch "* | "train --std_label_smooth_e "* | "train --sl_clc_lambda "* | "train --sl_clc_start_ep "* | "train --sl_clc_end_ep "* | "train --sl_clc_min "* | "train --sl_clc_max "* | "train --sl_clc_min_p "* | "train --sl_clc_max_p "* | "train --sl_clc_ksz "* | "train --sl_clc_roi_min_size "* | "train --sl_clc_fg_erode_k "* | "train --sl_clc_fg_erode_iter "* | "train --sl_clc_knn_t "* | "train --sl_clc_min_t "* | "train --sl_clc_seed_epoch_switch_uniform "* | "train --sl_clc_epoch_switch_to_sl "* | "train --sl_clc_block "* | "train --soft_cam_clc_lambda "* | "train --soft_cam_clc_start_ep "* | "train --soft_cam_clc_end_ep "* | "train --crf_clc_lambda "* | "train --crf_clc_start_ep "* | "train --crf_clc_end_ep "* | "train --crf_clc_sigma_rgb "* | "train --crf_clc_sigma_xy "* | "train --crf_clc_scale "* | "train --rgb_jcrf_clc_lambda "* | "train --rgb_jcrf_clc_start_ep "* | "train --rgb_jcrf_clc_end_ep "* | "train --rgb_jcrf_clc_sigma_rgb "* | "train --rgb_jcrf_clc_input_re_dim "* | "train --rgb_jcrf_clc_scale "* | "train --rgb_jcrf_clc_warmup_ep "* | "train --max_sizepos_clc_lambda "* | "train --max_sizepos_clc_start_ep "* | "train --max_sizepos_clc_end_ep "* | "train --min_entropy_clc_lambda "* | "train --min_entropy_clc_start_ep "* | "train --min_entropy_clc_end_ep "* | "train --size_bg_g_fg_clc_lambda "* | "train --size_bg_g_fg_clc_start_ep "* | "train --size_bg_g_fg_clc_end_ep "* | "train --sizefg_tmp_clc_lambda "* | "train --sizefg_tmp_clc_start_ep "* | "train --sizefg_tmp_clc_end_ep "* | "train --sizefg_tmp_clc_eps "* | "train --sizefg_tmp_clc_knn "* | "train --empty_out_bb_clc_lambda "* | "train --empty_out_bb_clc_start_ep "* | "train --empty_out_bb_clc_end_ep "* | "train --sl_tc_lambda "* | "train --sl_tc_start_ep "* | "train --sl_tc_end_ep "* | "train --sl_tc_knn "* | "train --sl_tc_knn_t "* | "train --sl_tc_min_t "* | "train --sl_tc_knn_epoch_switch_uniform "* | "train --sl_tc_epoch_switch_to_sl "* | "train --sl_tc_min "* | "train --sl_tc_max "* | "train --sl_tc_min_p "* | "train --sl_tc_max_p "* | "train --sl_tc_ksz "* | "train --sl_tc_block "* | "train --sl_tc_roi_min_size "* | "train --sl_tc_fg_erode_k "* | "train --sl_tc_fg_erode_iter "* | "train --soft_cam_tc_lambda "* | "train --soft_cam_tc_start_ep "* | "train --soft_cam_tc_end_ep "* | "train --crf_tc_lambda "* | "train --crf_tc_start_ep "* | "train --crf_tc_end_ep "* | "train --crf_tc_sigma_rgb "* | "train --crf_tc_sigma_xy "* | "train --crf_tc_scale "* | "train --rgb_jcrf_tc_lambda "* | "train --rgb_jcrf_tc_start_ep "* | "train --rgb_jcrf_tc_end_ep "* | "train --rgb_jcrf_tc_sigma_rgb "* | "train --rgb_jcrf_tc_scale "* | "train --max_sizepos_tc_lambda "* | "train --max_sizepos_tc_start_ep "* | "train --max_sizepos_tc_end_ep "* | "train --size_bg_g_fg_tc_lambda "* | "train --size_bg_g_fg_tc_start_ep "* | "train --size_bg_g_fg_tc_end_ep "* | "train --sizefg_tmp_tc_lambda "* | "train --sizefg_tmp_tc_start_ep "* | "train --sizefg_tmp_tc_end_ep "* | "train --sizefg_tmp_tc_eps "* | "train --sizefg_tmp_tc_knn "* | "train --empty_out_bb_tc_lambda "* | "train --empty_out_bb_tc_start_ep "* | "train --empty_out_bb_tc_end_ep "* | "train --knn_tc "* | "train --sl_fc_lambda "* | "train --sl_start_ep "* | "train --sl_end_ep "* | "train --soft_cam_fc_lambda "* | "train --soft_cam_fc_start_ep "* | "train --soft_cam_fc_end_ep "* | "train --crf_lambda "* | "train --crf_start_ep "* | "train --crf_end_ep "* | "train --max_sizepos_fc_lambda "* | "train --max_sizepos_fc_start_ep "* | "train --max_sizepos_fc_end_ep "* | "train --entropy_fc_lambda "* | "train --sl_min "* | "train --sl_max "* | "train --sl_min_p "* | "train --sl_ksz "* | "train --sl_block "* | "train --sl_fg_erode_k "* | "train --sl_fg_erode_iter "* | "train --sl_min_ext "* | "train --sl_max_ext "* | "train --crf_sigma_rgb "* | "train --crf_sigma_xy "* | "train --crf_scale "* | "train --im_rec_lambda "* | "train --seg_ignore_idx "* | "train --seed_refine_sigma_xy "* | "train --seed_refine_sigma_rgb "* | "train --seed_maps "* | "train --elb_init_t "* | "train --elb_max_t "* | "train --elb_mulcoef "* | "train --max_epochs "* | "train --min_steps "* | "train --grad_clip "* | "train --ema_decay "* | "train --best_start_ep "* | "train --early_stop_patience "* | "train --cam_curve_interval "* | "train --val_cam_curve_interval "* | "train --map_temperature "* | "train --map_refine_sigma_xy "* | "train --map_refine_sigma_rgb "* | "train --map_cam_share "* | "train --map_view_scale "* | "train --box_frames "* | "train --eval_batch_size "* | "train --fd_exp "* | "train --checkpoint_save "* | "train --keep_last_n_checkpoints "* | "train --log_every "* | "train --profile "* | "train --plot_tr_cam_progress_n "* | "train --vizu_n "* | "train --cudaid "* | "train --init_method "* | "train --local_rank "* | "train --local_world_size "* | "train --world_size "*) return ;;
        "train "*) words="--help --task --config --MYSEED --exp_id --debug_subfolder --exps_root --pretrained_root --cams_root --dry_run --deterministic --dataset --data_root --metadata_root --num_classes --crop_size --eval_size --resize_size --num_val_sample_per_class --num_workers --skip_bad_frames --aug_color --aug_scale_min --batch_size --sample_fr_limit --sample_n_from_seq --sample_n_from_seq_style --sample_n_from_seq_dist --sample_n_from_seq_std --min_tr_batch_sz --drop_small_tr_batch --fill_small_tr_batch --arch --encoder_name --encoder_weights --in_channels --path_pre_trained --strict --scale_in --freeze_cl --freeze_encoder --freeze_decoder_bn --seg_mode --multi_label_flag --method --cam_chunk_size --spatial_pooling --support_background --wc_modalities --wc_kmax --wc_kmin --wc_alpha --wc_dropout --lse_r --opt__name_optimizer --opt__lr --opt__lr_classifier_ratio --opt__momentum --opt__dampening --opt__nesterov --opt__weight_decay --opt__beta1 --opt__beta2 --opt__eps_adam --opt__amsgrad --opt__lr_scheduler --opt__name_lr_scheduler --opt__gamma --opt__step_size --opt__min_lr --opt__t_max --opt__last_epoch --std_label_smooth --std_label_smooth_e --colocam_pretrained_cl_ch_pt --colocam_pretrained_seeder_ch_pt --sl_clc --sl_clc_lambda --sl_clc_start_ep --sl_clc_end_ep --sl_clc_min --sl_clc_max --sl_clc_min_p --sl_clc_max_p --sl_clc_ksz --sl_clc_seed_tech --sl_clc_use_roi --sl_clc_roi_method --sl_clc_roi_min_size --sl_clc_roi_mask --sl_clc_fg_erode_k --sl_clc_fg_erode_iter --sl_clc_balance --sl_clc_knn_t --sl_clc_min_t --sl_clc_seed_epoch_switch_uniform --sl_clc_epoch_switch_to_sl --sl_clc_block --soft_cam_clc --soft_cam_clc_lambda --soft_cam_clc_start_ep --soft_cam_clc_end_ep --crf_clc --crf_clc_lambda --crf_clc_start_ep --crf_clc_end_ep --crf_clc_sigma_rgb --crf_clc_sigma_xy --crf_clc_scale --rgb_jcrf_clc --rgb_jcrf_clc_lambda --rgb_jcrf_clc_start_ep --rgb_jcrf_clc_end_ep --rgb_jcrf_clc_lambda_style --rgb_jcrf_clc_sigma_rgb --rgb_jcrf_clc_input_data --rgb_jcrf_clc_input_re_dim --rgb_jcrf_clc_scale --rgb_jcrf_clc_warmup_ep --rgb_jcrf_clc_seed_agreement --max_sizepos_clc --max_sizepos_clc_lambda --max_sizepos_clc_start_ep --max_sizepos_clc_end_ep --min_entropy_clc --min_entropy_clc_lambda --min_entropy_clc_start_ep --min_entropy_clc_end_ep --size_bg_g_fg_clc --size_bg_g_fg_clc_lambda --size_bg_g_fg_clc_start_ep --size_bg_g_fg_clc_end_ep --sizefg_tmp_clc --sizefg_tmp_clc_lambda --sizefg_tmp_clc_start_ep --sizefg_tmp_clc_end_ep --sizefg_tmp_clc_eps --sizefg_tmp_clc_knn --sizefg_tmp_clc_knn_mode --empty_out_bb_clc --empty_out_bb_clc_lambda --empty_out_bb_clc_start_ep --empty_out_bb_clc_end_ep --sl_tc --sl_tc_lambda --sl_tc_start_ep --sl_tc_end_ep --sl_tc_knn --sl_tc_knn_mode --sl_tc_knn_t --sl_tc_min_t --sl_tc_knn_epoch_switch_uniform --sl_tc_epoch_switch_to_sl --sl_tc_min --sl_tc_max --sl_tc_min_p --sl_tc_max_p --sl_tc_ksz --sl_tc_block --sl_tc_seed_tech --sl_tc_use_roi --sl_tc_roi_method --sl_tc_roi_min_size --sl_tc_roi_mask --sl_tc_fg_erode_k --sl_tc_fg_erode_iter --tcam_pretrained_cl_ch_pt --tcam_pretrained_seeder_ch_pt --soft_cam_tc --soft_cam_tc_lambda --soft_cam_tc_start_ep --soft_cam_tc_end_ep --crf_tc --crf_tc_lambda --crf_tc_start_ep --crf_tc_end_ep --crf_tc_sigma_rgb --crf_tc_sigma_xy --crf_tc_scale --rgb_jcrf_tc --rgb_jcrf_tc_lambda --rgb_jcrf_tc_start_ep --rgb_jcrf_tc_end_ep --rgb_jcrf_tc_sigma_rgb --rgb_jcrf_tc_scale --max_sizepos_tc --max_sizepos_tc_lambda --max_sizepos_tc_start_ep --max_sizepos_tc_end_ep --size_bg_g_fg_tc --size_bg_g_fg_tc_lambda --size_bg_g_fg_tc_start_ep --size_bg_g_fg_tc_end_ep --sizefg_tmp_tc --sizefg_tmp_tc_lambda --sizefg_tmp_tc_start_ep --sizefg_tmp_tc_end_ep --sizefg_tmp_tc_eps --sizefg_tmp_tc_knn --sizefg_tmp_tc_knn_mode --empty_out_bb_tc --empty_out_bb_tc_lambda --empty_out_bb_tc_start_ep --empty_out_bb_tc_end_ep --knn_tc --sl_fc --sl_fc_lambda --sl_start_ep --sl_end_ep --soft_cam_fc --soft_cam_fc_lambda --soft_cam_fc_start_ep --soft_cam_fc_end_ep --crf_fc --crf_lambda --crf_start_ep --crf_end_ep --max_sizepos_fc --max_sizepos_fc_lambda --max_sizepos_fc_start_ep --max_sizepos_fc_end_ep --entropy_fc --entropy_fc_lambda --sl_min --sl_max --sl_min_p --sl_ksz --sl_block --sl_fg_erode_k --sl_fg_erode_iter --sl_min_ext --sl_max_ext --crf_sigma_rgb --crf_sigma_xy --crf_scale --im_rec --im_rec_lambda --im_rec_elb --seg_ignore_idx --seed_refine_sigma_xy --seed_refine_sigma_rgb --seed_cam_method --seed_maps --crf_backend --elb_init_t --elb_max_t --elb_mulcoef --max_epochs --min_steps --amp --amp_eval --amp_dtype --channels_last --compile --cuda_graphs --grad_clip --ema_decay --best_start_ep --early_stop_patience --box_v2_metric --cam_curve_interval --val_cam_curve_interval --map_temperature --map_refine_sigma_xy --map_refine_sigma_rgb --map_cam_share --map_view_scale --map_view_flip --box_features --box_frames --val_fast --multi_contour_eval --multi_iou_eval --eval_checkpoint_type --eval_batch_size --eval_only --fd_exp --split --checkpoint_save --keep_last_n_checkpoints --verbose --progress --log_every --profile --plot_tr_cam_progress --plot_tr_cam_progress_n --vizu_n --report --log_to --tensorboard --device --cudaid --dist_backend --init_method --local_rank --local_world_size --world_size --sync_bn" ;;
        "status --exps_root "*) return ;;
        "status "*) words="--help --exps_root" ;;
        "compare --out "* | "compare --table "* | "compare --models "*) return ;;
        "compare "*" -"*) words="--help --out --table --models" ;;
        "figure --criterion "*) words="best_localization best_classification" ;;
        "figure --split "*) words="test val" ;;
        "figure --colormap "*) words="heat jet turbo viridis gray" ;;
        "figure --frames "* | "figure --out "* | "figure --names "* | "figure --tau "* | "figure --seed "* | "figure --width "* | "figure --opacity "* | "figure --dataset "* | "figure --data_root "* | "figure --metadata_root "*) return ;;
        "figure "*" -"*) words="--help --frames --out --names --criterion --tau --split --seed --width --opacity --colormap --dataset --data_root --metadata_root" ;;
        "score-maps --maps "* | "score-maps --dataset "* | "score-maps --split "* | "score-maps --name "* | "score-maps --out "* | "score-maps --data_root "* | "score-maps --metadata_root "* | "score-maps --crop_size "* | "score-maps --box_v2_metric "* | "score-maps --cam_curve_interval "*) return ;;
        "score-maps "*) words="--help --maps --dataset --split --name --out --data_root --metadata_root --crop_size --box_v2_metric --cam_curve_interval" ;;
        "localize --criterion "*) words="best_localization best_classification" ;;
        "localize --model "*) words="better own classifier" ;;
        "localize --box_rule "*) words="colors threshold" ;;
        "localize --colormap "*) words="heat jet turbo viridis gray" ;;
        "localize --device "*) words="auto cpu cuda" ;;
        "localize --fd_exp "* | "localize --input "* | "localize --out "* | "localize --label "* | "localize --tau "* | "localize --multi "* | "localize --min_presence "* | "localize --tracks "* | "localize --box_frames "* | "localize --fast "* | "localize --masks "* | "localize --boxes_only "* | "localize --opacity "* | "localize --smooth "* | "localize --fps "* | "localize --max_frames "* | "localize --batch_size "*) return ;;
        "localize "*) words="--help --fd_exp --input --out --criterion --model --label --box_rule --tau --multi --min_presence --tracks --box_frames --fast --masks --boxes_only --opacity --colormap --smooth --fps --max_frames --batch_size --device" ;;
        "export --format "*) words="onnx torchscript" ;;
        "export --criterion "*) words="best_localization best_classification" ;;
        "export --fd_exp "* | "export --out "*) return ;;
        "export "*) words="--help --fd_exp --format --out --criterion" ;;
        "measure --split "*) words="test val" ;;
        "measure --criterion "*) words="best_localization best_classification" ;;
        "measure --box_rule "*) words="colors threshold" ;;
        "measure --fd_exp "* | "measure --dataset "* | "measure --data_root "* | "measure --metadata_root "* | "measure --smooth "* | "measure --box_frames "*) return ;;
        "measure "*) words="--help --fd_exp --dataset --data_root --metadata_root --split --smooth --criterion --box_rule --box_frames" ;;
        "promote "*" -"*) words="--help" ;;
        "study --out "* | "study --jobs "* | "study --only "*) return ;;
        "study "*" -"*) words="--help --out --jobs --only" ;;
        "gain "*" -"*) words="--help" ;;
        "selfcheck --device "*) words="auto cuda cpu" ;;
        "selfcheck --out "* | "selfcheck --table "*) return ;;
        "selfcheck "*) words="--help --device --out --checks_only --compile --table" ;;
        "import --src "* | "import --dst "* | "import --metadata "* | "import --boxes "* | "import --val_share "* | "import --test_share "* | "import --seed "* | "import --fps "* | "import --short_side "* | "import --quality "* | "import --cut_threshold "* | "import --min_shot "* | "import --num_workers "*) return ;;
        "import "*) words="--help --src --dst --metadata --boxes --val_share --test_share --seed --fps --short_side --quality --cut_threshold --min_shot --num_workers" ;;
        "inspect --dataset "* | "inspect --data_root "* | "inspect --metadata_root "* | "inspect --out "* | "inspect --per_shot "* | "inspect --num_workers "*) return ;;
        "inspect "*) words="--help --dataset --data_root --metadata_root --out --per_shot --num_workers" ;;
        "download --data_root "* | "download --metadata "* | "download --url "* | "download --classes "* | "download --num_workers "* | "download --retries "*) return ;;
        "download "*" -"*) words="--help --data_root --metadata --url --classes --num_workers --retries --delete_archives" ;;
        "download download "*) words="YouTube-Objects-v1.0 YouTube-Objects-v2.2" ;;
        "build-v1 --src "* | "build-v1 --dst "* | "build-v1 --metadata "* | "build-v1 --num_workers "*) return ;;
        "build-v1 "*) words="--help --src --dst --metadata --copy --num_workers --check" ;;
        "build-v2 --src "* | "build-v2 --dst "* | "build-v2 --metadata "* | "build-v2 --num_workers "*) return ;;
        "build-v2 "*) words="--help --src --dst --metadata --copy --num_workers --check" ;;
        "synthetic --dst "* | "synthetic --classes "* | "synthetic --videos "* | "synthetic --shots "* | "synthetic --frames "* | "synthetic --size "* | "synthetic --seed "* | "synthetic --num_workers "*) return ;;
        "synthetic "*) words="--help --dst --classes --videos --shots --frames --size --seed --num_workers" ;;
        "completion "*) words="--help" ;;
        *) return ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
}
complete -o bashdefault -o default -F _colocam colocam python python3 torchrun
